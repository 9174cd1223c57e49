"""The language server, which needs the extra `lsp`."""
