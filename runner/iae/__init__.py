"""What runs inside an instance: fetches a task's data, runs its analysis, reports, and turns the machine off.

Packaged by runner/agent_build.py into one file, together with the libraries it needs. Of our own code it imports
nothing but this folder, state/errors.py and state/values.py.
"""
