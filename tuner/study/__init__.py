"""Study: the loop that proposes, tries, records and learns."""
