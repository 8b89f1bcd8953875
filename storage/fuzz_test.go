package storage

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/record"
)

// What stands in the file state after a broken disk is an older state or none.
func FuzzState(f *testing.F) {
	f.Add(state{}.encode())
	f.Add(state{sequence: 5, restore: true, clean: true, shard: "a0f", boot: "b", wall: time.Unix(7, 0)}.encode())
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, record.Seal(append([]byte{record.Version}, b...))} {
			st, ok := decodeState(b)
			if !ok {
				continue
			}
			if again, ok := decodeState(st.encode()); !ok || !bytes.Equal(again.encode(), st.encode()) {
				t.Errorf("state %+v became %+v", st, again)
			}
		}
	})
}

// What a sidecar says is believed only where the part can hold it.
func FuzzSidecar(f *testing.F) {
	whole, err := json.Marshal(sidecar{Digest: oci.Sum(nil), Size: 10, Covered: []Extent{{Start: 0, End: 4}, {Start: 6, End: 10}}, Suspended: 7})
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
