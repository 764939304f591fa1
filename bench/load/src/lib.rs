//! A load generator whose endpoints are a foreign WebRTC stack.
