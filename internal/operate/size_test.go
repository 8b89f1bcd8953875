package operate

import (
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "200GiB": 200 << 30, "1TB": 1e12, "1.5 GiB": 3 << 29, "7B": 7, "200g": 200e9, "200Gi": 200 << 30, "4096 b": 4096,
	} {
		if n, err := ParseSize(text); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for text, want := range map[string]string{
		"200": "did you mean 200GiB?", "1.5": "did you mean 1.5GiB?", "214748364800": "did you mean 214748364800B?",
		"much": "is no size: want such as 200GiB", "": "is no size", "-1GiB": "is no size", "99999999EiB": "is no size",
	} {
		if n, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v; want %s", text, n, err, want)
		}
	}
	if _, err := ParseRate("100"); err == nil || !strings.Contains(err.Error(), "did you mean 100MiB?") {
		t.Errorf("rate: %v", err)
	}
}
