"""What serving recorded is compared with the baseline, and each difference becomes a dated finding."""
