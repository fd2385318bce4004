"""Video: pictures, where they come from and go to, and what makes packets of them."""
