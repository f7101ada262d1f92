"""The genuine RDB format: values and keys to bytes and back, for files, full syncs and DUMP payloads.

Pure data floor: imports types, numbers and the Store interface; commands and services import it.
"""
