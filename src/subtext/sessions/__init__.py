"""Sessions: long recordings of two people with the turns they take, read in place."""
