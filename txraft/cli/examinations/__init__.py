"""What `txraft doctor` looks at, a module for each family. Each takes what it asks of the computer as parameters."""
