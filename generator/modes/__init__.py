"""Ways to make an image: each yields image, label, parameters and, where the edit is local, a mask."""
