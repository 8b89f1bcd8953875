package storage

import (
	"encoding/json"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// What a sidecar says is believed only where the part can hold it.
func FuzzSidecar(f *testing.F) {
	whole, err := json.Marshal(sidecar{Digest: oci.Sum(nil), Size: 10, Covered: extents(0, 4, 6, 10), Suspended: 7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, int64(10))
	f.Add([]byte(`{"covered":[{"start":-1,"end":9223372036854775807}]}`), int64(5))
	f.Add([]byte(`{"covered":[{"start":3,"end":3},{}]}`), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, length int64) {
		var c sidecar
		if json.Unmarshal(b, &c) != nil || !valid(c.Covered, c.Size, length) {
			return
		}
		var end int64
		for _, e := range c.Covered {
			if e.Start < end || e.End <= e.Start || e.End > length || c.Size >= 0 && e.End > c.Size {
				t.Fatalf("%+v of %d bytes in a file of %d", c.Covered, c.Size, length)
			}
			end = e.End
		}
	})
}
