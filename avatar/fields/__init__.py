"""What rides on the head: rigged Gaussians and their residuals."""
