"""The engine: how a kernel's text becomes a loaded library. Imported only as `wavejit.jit`."""

if __name__ != "wavejit.jit":
    raise ImportError(
        f"the engine was imported as {__name__!r}; import it as 'wavejit.jit' "
        "(a second copy would have its own caches and locks)"
    )
