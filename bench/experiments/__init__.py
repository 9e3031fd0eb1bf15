"""What can be measured: each module makes the rows of its tables and names their columns."""
