# SPDX-License-Identifier: Apache-2.0
"""A cluster of trivetd as processes, for tests: its members, who is one of them, and calls to them."""
