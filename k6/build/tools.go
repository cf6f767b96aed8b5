//go:build tools

// Package tools names the k6 that scripts/install builds, with the sums of all it is made of.
package tools

import _ "go.k6.io/k6/v2"
