# the module job
