package storage

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/oci"
)

// Catalog is what a store has by name, as it was when the Catalog was made: what
// changes meanwhile does not show. It holds no more than a few hundred records in
// memory, and neither a Store's Close nor writers wait for who goes through it;
// after the Close it is ErrClosed. Only one goroutine at a time uses it, and calls
// Close: until then the index keeps what was since replaced.
type Catalog struct {
	store *Store
	txn   *badger.Txn
}

// CatalogTag is a tag of a Catalog.
type CatalogTag struct {
	Scope oci.Scope
	Name  string
	Tag
}

// Catalog returns what the store has at present. It is ErrNoIndex while that is
// not known.
func (s *Store) Catalog(ctx context.Context) (*Catalog, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	defer s.leave()
	txn, err := s.begin()
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	return &Catalog{s, txn}, nil
}

// Close lets go of what the Catalog holds.
func (c *Catalog) Close() {
	if c.store.enter(context.Background()) != nil {
		return // nothing is left to let go of
	}
	defer c.store.leave()
	c.txn.Discard()
}

// Scopes yields the scopes of the upstreams of a name, empty = of all, in order: each
// that has tags, or content linked to it, though none of it need be stored. An
// error is the last thing that it yields.
func (c *Catalog) Scopes(ctx context.Context, upstream string) iter.Seq2[oci.Scope, error] {
	return func(yield func(oci.Scope, error) bool) {
		for r, err := range c.scan(ctx, []byte(string(rune(tableScope))+upstream), false) {
			if err != nil {
				yield(oci.Scope{}, err)
				return
			}
			if scope, ok := scopeOf(r.key, upstream, 2); ok && !yield(scope, nil) {
				return
			}
		}
	}
}

// Identities returns the identities under which upstreams of a name have scopes, in
// order. How many scopes these are makes no difference.
func (c *Catalog) Identities(ctx context.Context, upstream string) (identities []string, err error) {
	for from := upstream; ; {
		some, _, err := c.step(ctx, []byte(string(rune(tableScope))+upstream), []byte(string(rune(tableScope))+from), false, 1)
		if err != nil {
			return nil, fmt.Errorf("read catalog: %w", err)
		}
		if len(some) == 0 {
			return identities, nil
		}
		identity, _, _ := strings.Cut(string(some[0].key[1:]), "\x00")
		if oci.UpstreamName(identity) == upstream {
			identities = append(identities, identity)
		}
		from = identity + "\x01" // behind all repositories of it
	}
}

// Tags yields the tags of the upstreams of a name, empty = of all, and of one
// repository of them, empty = of all, in order of upstream, repository and tag. An
// error is the last thing that it yields.
func (c *Catalog) Tags(ctx context.Context, upstream, repository string) iter.Seq2[CatalogTag, error] {
	return func(yield func(CatalogTag, error) bool) {
		for r, err := range c.scan(ctx, []byte(string(rune(tableTag))+upstream), true) {
			if err != nil {
				yield(CatalogTag{}, err)
				return
			}
			scope, ok := scopeOf(r.key, upstream, 3)
			if !ok || repository != "" && scope.Repository != repository {
				continue
			}
			t, ok := decodeTag(r.value)
			if !ok {
				continue
			}
			name := string(r.key[bytes.LastIndexByte(r.key, 0)+1:])
			if !yield(CatalogTag{Scope: scope, Name: name, Tag: t}, nil) {
				return
			}
		}
	}
}

// scan yields the records whose keys begin with the prefix.
func (c *Catalog) scan(ctx context.Context, prefix []byte, values bool) iter.Seq2[keyed, error] {
	return func(yield func(keyed, error) bool) {
		for from := prefix; from != nil; {
			var some []keyed
			var err error
			if some, from, err = c.step(ctx, prefix, from, values, tableStep); err != nil {
				yield(keyed{}, fmt.Errorf("read catalog: %w", err))
				return
			}
			for _, r := range some {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// step returns up to n records from a key on, and the key of the next one.
func (c *Catalog) step(ctx context.Context, prefix, from []byte, values bool, n int) (some []keyed, next []byte, err error) {
	if err := c.store.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer c.store.leave()
	it := c.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		if len(some) == n {
			return some, it.Item().KeyCopy(nil), nil
		}
		r := keyed{key: it.Item().KeyCopy(nil)}
		if values {
			if r.value, err = it.Item().ValueCopy(nil); err != nil {
				c.store.noteDamage(err)
				return nil, nil, err
			}
		}
		some = append(some, r)
	}
	return some, nil, nil
}
