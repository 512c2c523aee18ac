"""What gateware, golden model, firmware and host all obey; needs nothing but Python itself."""
