graph [
  directed 0
  node [
    id 0
    label "Everywhere"
    host_bandwidth_up "10 Gbit"
    host_bandwidth_down "10 Gbit"
  ]
  edge [
    source 0
    target 0
    latency "20000 us"
    packet_loss 0.0
  ]
]
