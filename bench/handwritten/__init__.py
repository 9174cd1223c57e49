"""The seven models as a careful engineer writes them in PyTorch: padded batches, masks, torch's own
modules and fused attention where they fit. One file a model; a test holds each against its spec."""
