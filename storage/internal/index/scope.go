package index

import (
	"bytes"
	"context"

	"github.com/pullgate/pullgate/internal/oci"
)

// Scopes returns the scopes of a selection: by their names, and by those of tags,
// in case a name could not be read.
func (t *Txn) Scopes(ctx context.Context, sel oci.Selection) (scopes []oci.Scope, err error) {
	seen := make(map[oci.Scope]struct{})
	for table, names := range map[byte]int{TableScope: 2, TableTag: 3} {
		err := t.Keys(ctx, []byte(string(rune(table))+sel.Upstream), func(it *Iterator) error {
			key := it.Key()
			scope, ok := ScopeOf(key, sel.Upstream, names)
			if _, known := seen[scope]; ok && !known && sel.Has(scope) {
				seen[scope] = struct{}{}
				scopes = append(scopes, scope)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return scopes, nil
}

// ScopeTags calls fn for each tag of a scope.
func (t *Txn) ScopeTags(ctx context.Context, scope oci.Scope, fn func(name string, key, value []byte) error) error {
	prefix, err := TagKey(scope, "")
	if err != nil {
		return err
	}
	return t.Each(ctx, prefix, func(key, value []byte) error { return fn(string(key[len(prefix):]), key, value) })
}

// Tags calls fn for each tag of the upstreams of a name; empty = of all.
func (t *Txn) Tags(ctx context.Context, name string, fn func(scope oci.Scope, tag string, value []byte) error) error {
	return t.Each(ctx, []byte(string(rune(TableTag))+name), func(key, value []byte) error {
		scope, ok := ScopeOf(key, name, 3)
		if !ok {
			return nil
		}
		return fn(scope, string(key[bytes.LastIndexByte(key, 0)+1:]), value)
	})
}

// Name records a scope.
func (b *Batch) Name(scope oci.Scope, hour Use) error {
	if err := CheckScope(scope); err != nil {
		return err
	}
	key := ScopeKey(scope)
	if _, ok := Load(b.Txn, key, DecodeUse); ok {
		return nil
	}
	return b.Set(key, hour.Encode())
}

// Unname drops the record of a scope that has neither links nor tags.
func (b *Batch) Unname(scope oci.Scope) error {
	tags, err := TagKey(scope, "")
	if err != nil || b.HasAny(tags) || b.HasAny(ScopedPrefix(TableLink, scope)) {
		return err
	}
	if !b.Has(ScopeKey(scope)) {
		return nil // it is gone, or cannot be read
	}
	return b.Delete(ScopeKey(scope))
}
