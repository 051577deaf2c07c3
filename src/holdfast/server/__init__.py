"""HTTP in front of the data plane and the control plane; errors become status codes only here."""
