// Reads programs for macOS with go-macho, which shares no code with bin/package/macos-signature.ts. It compares the hash of
// each page with the signature, and the symbols that dyld binds and exports with those of the original program:
// go run . PROGRAM ORIGINAL
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"

	macho "github.com/blacktop/go-macho"
)

const pageBytes = 4096

func main() {
	program, data := read(os.Args[1])
	signature := program.CodeSignature()
	if signature == nil || len(signature.CodeDirectories) != 1 || len(signature.Errors) > 0 {
		fail("no signature with one code directory")
	}
	directory := signature.CodeDirectories[0]
	limit := uint64(directory.Header.CodeLimit)
	if limit != uint64(signature.Offset) || limit+uint64(signature.Size) != uint64(len(data)) {
		fail("the signature is not the end of the file")
	}
	if uint64(len(directory.CodeSlots)) != (limit+pageBytes-1)/pageBytes {
		fail("not one hash for each page")
	}
	for page, slot := range directory.CodeSlots {
		start := uint64(page) * pageBytes
		hash := sha256.Sum256(data[start:min(start+pageBytes, limit)])
		if !bytes.Equal(hash[:], slot.Hash) {
			fail(fmt.Sprintf("page %d has another hash", page))
		}
	}
	original, _ := read(os.Args[2])
	bound := symbols(program)
	if len(bound) == 0 || fmt.Sprint(bound) != fmt.Sprint(symbols(original)) {
		fail("dyld binds or exports other symbols than in the original")
	}
	fmt.Printf("%s, %v: %d pages, %d symbols\n", directory.ID, directory.Header.Flags, len(directory.CodeSlots), len(bound))
}

func read(path string) (*macho.File, []byte) {
	data, err := os.ReadFile(path)
	check(err)
	file, err := macho.NewFile(bytes.NewReader(data))
	check(err)
	return file, data
}

func symbols(file *macho.File) []string {
	var names []string
	fixups, err := file.DyldChainedFixups()
	check(err)
	for _, symbol := range fixups.Imports {
		names = append(names, fmt.Sprint("import ", symbol.Name, symbol.LibOrdinal(), symbol.Addend()))
	}
	exports, err := file.DyldExports()
	check(err)
	for _, symbol := range exports {
		names = append(names, fmt.Sprint("export ", symbol.Name, symbol.Address, symbol.Flags))
	}
	return names
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
