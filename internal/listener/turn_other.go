//go:build !linux

package listener

import "context"

// TakeTurns takes none here.
func TakeTurns(context.Context, []uint16) (release func()) { return func() {} }
