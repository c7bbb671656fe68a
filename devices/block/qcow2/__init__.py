"""The qcow2 format, versions 2 and 3.  Section names in comments are its specification's."""
