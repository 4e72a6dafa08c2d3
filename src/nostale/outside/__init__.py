"""One door to each thing outside: the compiler and its cache, ELF, decoders, zstd, tracefs."""
