"""Whether valid films are read as they were drawn, whatever they are packed in."""
