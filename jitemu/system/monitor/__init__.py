"""The monitor: commands for the person at the machine, who may stop it and look inside."""
