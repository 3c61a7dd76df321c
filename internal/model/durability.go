package model

// Durability is what an acknowledged row survives. Higher levels survive more.
type Durability uint8

// The levels. The zero value means that none was named.
const (
	// DurabilityUnset stands for the default of the table.
	DurabilityUnset Durability = iota
	// Memory may be lost by a kill of the server.
	Memory
	// OS survives a kill of the server, not a power cut.
	OS
	// Fsync survives a power cut of the server.
	Fsync
	// Quorum survives the loss of any minority of the nodes of a cluster.
	Quorum
)

var durabilityNames = [...]string{"", "memory", "os", "fsync", "quorum"}

// String is the name of the level as the interface spells it.
func (d Durability) String() string { return durabilityNames[d] }

// ParseDurability reads the name of a level; "" is DurabilityUnset.
func ParseDurability(text string) (Durability, error) {
	for level, name := range durabilityNames {
		if name == text {
			return Durability(level), nil
		}
	}
	return 0, Errorf(BadRequest, "%q is not a durability level", text).WithRemedy("Use memory, os or fsync")
}
