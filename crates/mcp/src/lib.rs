//! Sidegate mcp.
