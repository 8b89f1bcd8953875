// Package trial tries what a bucket does that is about to be used.
package trial

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pullgate/pullgate/internal/bucket"
)

var errSilent = errors.New("the bucket is silent for too long")

// Findings returns what a bucket does not do, and what that means: at first that it is not
// read with look, and then what it does with an object of a key, which is removed again.
func Findings(ctx context.Context, objects bucket.Objects, look func(context.Context) error, key string) (found []string) {
	err := look(ctx)
	if err != nil && ctx.Err() != nil {
		err = errSilent
	}
	if err != nil {
		return append(found, fmt.Sprintf("it cannot be read: pulls go on without it: %v", err))
	}
	defer func() { _ = objects.Delete(ctx, key) }()
	written, err := race(ctx, objects, key)
	switch {
	case err != nil:
		return append(found, fmt.Sprintf("it cannot be written: what is pulled stays with this gateway: %v", err))
	case written > 1:
		found = append(found, "it overwrites what is to be written only if absent: the older of two answers about a tag may stay there, as a spare")
	}
	if put(ctx, objects, key, bucket.PutOptions{SHA256: hex.EncodeToString(sha256.New().Sum(nil))}) == nil {
		found = append(found, "it stores bytes that do not match their hash: what goes wrong on the way there is found only when it is read")
	}
	return found
}

// race writes one object twice at a time where there is none, and returns how often it was
// written.
func race(ctx context.Context, objects bucket.Objects, key string) (written int, err error) {
	outcomes := make(chan error, 2)
	for range cap(outcomes) {
		go func() { outcomes <- put(ctx, objects, key, bucket.PutOptions{IfAbsent: true}) }()
	}
	for range cap(outcomes) {
		switch outcome := <-outcomes; {
		case outcome == nil:
			written++
		case !errors.Is(outcome, bucket.ErrChanged):
			err = outcome
		}
	}
	return written, err
}

func put(ctx context.Context, objects bucket.Objects, key string, o bucket.PutOptions) error {
	content := []byte("probe")
	return objects.Put(ctx, key, bytes.NewReader(content), int64(len(content)), o)
}
