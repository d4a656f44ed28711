"""A plugin as people write them for PG3: it reads the thermostats of an Acme account."""
