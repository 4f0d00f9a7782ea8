"""Models: read, change and write a config.pbtxt; find and stage the folder it belongs to."""
