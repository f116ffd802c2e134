"""What a trained model still tells when a stream is missing or spoiled."""
