"""Banks: named lists of signals of known images, and the index that uploads are looked up in."""
