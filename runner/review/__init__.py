"""Planning, applying and destroying the platform's own roots, under the eyes of a reviewer."""
