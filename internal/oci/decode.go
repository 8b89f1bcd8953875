package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

const (
	// maxElements is how many an array may have: images of ten thousand layers are
	// below that. A bundle may have as many images.
	maxElements = 16 << 10
	// maxMembers is how many an object may have. Those with the most are annotations,
	// of which signatures and build tools write some dozens.
	maxMembers = 4 << 10
	// maxValues is how many elements and members all of them may have together: as
	// many descriptors as there may be, with some annotations each.
	maxValues = 1 << 17
	// maxNesting is how deep they may lie in each other.
	maxNesting = 1000
	// valueCost is about how many bytes of memory a value takes once it is decoded,
	// beyond its text.
	valueCost = 128
	// decodingBudget is what all documents may take together that are being decoded: one
	// of the largest, or thousands of the usual. Those that were decoded may have left half
	// of it to the collector.
	decodingBudget = 6 << 20
	// smallCost is what counts for nothing: garbage that the collector comes to in time.
	smallCost = 1 << 20
)

// decoding is the budget of the process, whose memory all share.
var decoding = budget{room: semaphore.NewWeighted(decodingBudget)}

// budget bounds what documents take that are being decoded, and what those have left
// behind that were: at its own pace, the collector lets the memory of the process grow
// to twice what is in use.
type budget struct {
	room *semaphore.Weighted
	left atomic.Int64
}

// take waits for room. The caller calls give.
func (b *budget) take(cost int64) error {
	if err := b.room.Acquire(context.Background(), cost); err != nil {
		return err
	}
	if left := b.left.Load(); cost >= smallCost && left+cost > decodingBudget/2 && b.left.CompareAndSwap(left, 0) {
		runtime.GC()
	}
	return nil
}

func (b *budget) give(cost int64) {
	if cost >= smallCost {
		b.left.Add(cost)
	}
	b.room.Release(cost)
}

// Decode is json.Unmarshal for what others have written. It refuses arrays of more
// than 16,384 elements, objects of more than 4,096 members and documents of more than
// 131,072 of both: 4 MiB of "{}," would otherwise become 300 MiB of descriptors. It
// decodes only as many documents at a time as fit into a budget that all share: the
// others wait, for no longer than those take.
func Decode(raw []byte, v any) error {
	values, err := countValues(raw)
	if err != nil {
		return err
	}
	cost := min(int64(len(raw))+int64(values)*valueCost, decodingBudget)
	if err := decoding.take(cost); err != nil {
		return err
	}
	defer decoding.give(cost)
	return json.Unmarshal(raw, v)
}

// countValues returns how many elements and members JSON has, if they are not too
// many. What is no JSON has any number.
func countValues(raw []byte) (values int, err error) {
	var left []int // how many more each open container may have
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			if len(left) == maxNesting {
				return 0, fmt.Errorf("it is nested more than %d deep", maxNesting)
			}
			most := maxMembers
			if raw[i] == '[' {
				most = maxElements
			}
			left = append(left, most-1)
			values++
		case '}', ']':
			left = left[:max(len(left)-1, 0)]
		case ',':
			if values++; len(left) == 0 {
				continue
			}
			if left[len(left)-1]--; left[len(left)-1] < 0 {
				return 0, fmt.Errorf("a list has more than %d elements, or an object more than %d members", maxElements, maxMembers)
			}
		case '"':
			i = stringEnd(raw, i)
		}
		if values > maxValues {
			return 0, fmt.Errorf("it has more than %d elements and members", maxValues)
		}
	}
	return values, nil
}

// stringEnd returns where a string ends that begins at i.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw) && raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i
}

// List is a slice that is decoded into memory of the right size, and has the limit of
// Decode wherever it is decoded.
type List[T any] []T

// UnmarshalJSON reads an array, or null as no array.
func (l *List[T]) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*l = nil
		return nil
	}
	if len(raw) == 0 || raw[0] != '[' {
		return errors.New("want an array")
	}
	n := countElements(raw)
	if n > maxElements {
		return fmt.Errorf("a list has more than %d elements", maxElements)
	}
	*l = make(List[T], 0, n+1) // and room for one more
	return json.Unmarshal(raw, (*[]T)(l))
}

// countElements returns how many elements an array has; of one without, 1.
func countElements(raw []byte) int {
	n, depth := 1, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 1 {
				n++
			}
		case '"':
			i = stringEnd(raw, i)
		}
	}
	return n
}
