"""What people say of captions, and what is trained because of it."""
