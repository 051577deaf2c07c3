"""Run one serving process: ``python -m holdfast.server OPTIONS``, as the supervisor does."""

from holdfast.app.warm import compiled_once, import_kernels, said_on_stderr

if __name__ == "__main__":
    with compiled_once(said_on_stderr):
        import_kernels()
        from holdfast.server.worker import main

    main()
