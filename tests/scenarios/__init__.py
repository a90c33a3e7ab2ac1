"""What happened to others, and what the dissertation warns of, played on scripted clusters. A `Witness` looks on at every step."""
