package operate

import (
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
)

// mostUnits is the largest number that may have lost a unit; a larger one is a number of
// bytes.
const mostUnits = 1 << 20

// ParseSize parses a number of bytes, which has a unit unless it is 0.
func ParseSize(s string) (int64, error) { return parseSize(s, "GiB", "such as 200GiB") }

// ParseRate parses a number of bytes per second, as ParseSize does.
func ParseRate(s string) (int64, error) { return parseSize(s, "MiB", "such as 100MiB") }

// parseSize parses a number of bytes. unit is the one that is likely if there is none.
func parseSize(s, unit, such string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	switch {
	case err != nil || n > math.MaxInt64:
		return 0, fmt.Errorf("%q is no size: want %s", s, such)
	case n == 0 || strings.Trim(s, "0123456789.,") != "":
		return int64(n), nil
	case n > mostUnits:
		unit = "B"
	}
	return 0, fmt.Errorf("%q is a size without a unit: did you mean %s%s?", s, s, unit)
}
