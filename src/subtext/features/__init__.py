"""Extract once, keep in a cache, report what failed; nothing here knows which model will use the streams."""
