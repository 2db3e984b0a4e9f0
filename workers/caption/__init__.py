"""One caption: how many frames, what the model says, can it be believed, how is it shown."""
