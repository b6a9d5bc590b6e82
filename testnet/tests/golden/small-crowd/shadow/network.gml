graph [
  comment "Exported by mainswarm-testnet; sha1 of the other lines: e172381f19b68d7c5dc5b3b281b0a659c3d55297"
  directed 0
  node [
    id 0
    label "North America"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  node [
    id 1
    label "Europe"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  node [
    id 2
    label "Asia"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  node [
    id 3
    label "South America"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  node [
    id 4
    label "Oceania"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  edge [
    source 0
    target 0
    latency "22500 us"
    packet_loss 0.01
  ]
  edge [
    source 0
    target 1
    latency "55000 us"
    packet_loss 0.01
  ]
  edge [
    source 0
    target 2
    latency "85000 us"
    packet_loss 0.01
  ]
  edge [
    source 0
    target 3
    latency "75000 us"
    packet_loss 0.01
  ]
  edge [
    source 0
    target 4
    latency "85000 us"
    packet_loss 0.01
  ]
  edge [
    source 1
    target 1
    latency "17500 us"
    packet_loss 0.01
  ]
  edge [
    source 1
    target 2
    latency "115000 us"
    packet_loss 0.01
  ]
  edge [
    source 1
    target 3
    latency "105000 us"
    packet_loss 0.01
  ]
  edge [
    source 1
    target 4
    latency "145000 us"
    packet_loss 0.01
  ]
  edge [
    source 2
    target 2
    latency "45000 us"
    packet_loss 0.01
  ]
  edge [
    source 2
    target 3
    latency "150000 us"
    packet_loss 0.01
  ]
  edge [
    source 2
    target 4
    latency "75000 us"
    packet_loss 0.01
  ]
  edge [
    source 3
    target 3
    latency "25000 us"
    packet_loss 0.01
  ]
  edge [
    source 3
    target 4
    latency "140000 us"
    packet_loss 0.01
  ]
  edge [
    source 4
    target 4
    latency "20000 us"
    packet_loss 0.01
  ]
]
