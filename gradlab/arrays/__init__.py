"""NumPy's protocols on traced arrays: gradlab differentiates losses in unmodified plain NumPy."""
