"""What a student is and how a bank of students scores windows."""
