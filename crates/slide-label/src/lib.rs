//! Rating slides together: journal, queue, agreement, consensus and the labelling page.
