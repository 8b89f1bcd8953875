package listener

import (
	"net/netip"
	"testing"
)

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:5000", "127.0.0.1:5000", true},
		{"127.0.0.1:5000", "127.0.0.1:5001", false},
		{"127.0.0.1:5000", "127.0.0.2:5000", false},
		{"127.0.0.1:5000", "0.0.0.0:5000", true},
		{"127.0.0.1:5000", "[::]:5000", true},
		{"[::]:5000", "0.0.0.0:5000", true},
		{"[::1]:5000", "0.0.0.0:5000", false},
		{"[::1]:5000", "127.0.0.1:5000", false},
		{"[::1]:5000", "[::]:5000", true},
		{"[::ffff:127.0.0.1]:5000", "127.0.0.1:5000", true},
	} {
		a, b := netip.MustParseAddrPort(test.a), netip.MustParseAddrPort(test.b)
		if overlap(a, b) != test.want || overlap(b, a) != test.want {
			t.Errorf("%s and %s: want %v", a, b, test.want)
		}
	}
}
