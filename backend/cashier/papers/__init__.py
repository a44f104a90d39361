"""收据与发票: numbered papers over money received, their titles, templates and reversals."""
