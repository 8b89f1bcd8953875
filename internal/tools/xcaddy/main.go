// Command xcaddy builds the Caddy of xcaddy.json from this checkout.
//
//	xcaddy <xcaddy.json> <output>
//
// The recipe is the JSON form of xcaddy.Builder, decoded strictly. It names its
// plugins as their users do, without a version; here each is replaced by the folder
// that the recipe names in its replacements, or by the one that the recipe lies in.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/xcaddy"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: xcaddy <xcaddy.json> <output>")
		os.Exit(2)
	}
	if err := build(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "xcaddy:", err)
		os.Exit(1)
	}
}

func build(recipe, output string) error {
	raw, err := os.ReadFile(recipe)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var builder xcaddy.Builder
	if err := decoder.Decode(&builder); err != nil {
		return fmt.Errorf("decode %s: %w", recipe, err)
	}
	// The builder works in a folder of its own, so relative paths would not
	// mean there what they mean here.
	root, err := filepath.Abs(filepath.Dir(recipe))
	if err != nil {
		return err
	}
	if output, err = filepath.Abs(output); err != nil {
		return err
	}
	for i := range builder.Replacements {
		folder := &builder.Replacements[i].New
		*folder = xcaddy.ReplacementPath(filepath.Join(root, string(*folder)))
	}
	for i := range builder.Plugins {
		plugin := &builder.Plugins[i]
		if plugin.Version != "" {
			continue
		}
		// Any version will do for a replaced module. Without one, go get asks
		// the module proxy for the list of them before it replaces anything.
		plugin.Version = "v0.0.1"
		if !slices.ContainsFunc(builder.Replacements, func(r xcaddy.Replace) bool {
			return plugin.PackagePath == string(r.Old) || strings.HasPrefix(plugin.PackagePath, string(r.Old)+"/")
		}) {
			builder.Replacements = append(builder.Replacements, xcaddy.NewReplace(plugin.PackagePath, root))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return builder.Build(ctx, output)
}
