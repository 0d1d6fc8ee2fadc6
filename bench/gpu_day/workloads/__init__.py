"""Programs that use the GPU for the day's stages, each in processes of their own."""
